package main

import (
	"log/slog"
	"strings"

	"netlyra/internal/api"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/config"
	"netlyra/internal/models"
)

// openBroker makes the bus over the brokers.
func (w *served) openBroker() (err error) {
	w.broker, err = newBroker(&w.settings.Broker, "netlyra-"+w.name, w.log, w.warn)
	return err
}

// newBroker makes the bus over brokers. It connects to nothing yet: what is wrong is an option, or a file that one names.
func newBroker(c *config.Broker, client string, log *slog.Logger, warn func(text string)) (*kafka.Bus, error) {
	o := kafka.Options{Brokers: c.Brokers, ClientID: client, Partitions: int32(c.TopicPartitions), Replication: int16(c.TopicReplication)}
	if c.BrokerTLS || c.BrokerCA != "" || c.BrokerCert != "" {
		o.TLS = &kafka.TLS{CAFile: c.BrokerCA, CertFile: c.BrokerCert, KeyFile: c.BrokerKey}
	}
	if c.BrokerSASL != config.BrokerSASLOff {
		password, err := secret("--broker-password-file", c.BrokerPasswordFile, warn)
		if err != nil {
			return nil, err
		}
		o.SASL = &kafka.SASL{Mechanism: strings.ToUpper(c.BrokerSASL), User: c.BrokerUser, Password: password}
	}
	b, err := kafka.New(o, kafka.Deps{Log: log})
	if err != nil {
		return nil, &config.UsageError{Err: err}
	}
	return b, nil
}

// brokerDrops are what readers elsewhere do not have of this process; it is judged and stored here all the same.
func brokerDrops(b *kafka.Bus) []models.Drop {
	drops := b.Drops()
	for i := range drops {
		drops[i].Stage, drops[i].Effect = strings.Replace(drops[i].Stage, "bus.", "broker.", 1), models.DropUnlisted
	}
	return drops
}

// brokerHealth are the problems of b as the API has them.
func brokerHealth(b *kafka.Bus) (reasons []api.Reason) {
	for _, p := range b.Health() {
		reasons = append(reasons, api.Reason{Code: p.Code, Message: p.Message})
	}
	return reasons
}
