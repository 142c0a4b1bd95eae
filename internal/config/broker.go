package config

import (
	"net"
	"strconv"
)

// Broker are the settings of what goes over Redpanda or Kafka. The zero value is none: all stays in the process.
type Broker struct {
	Brokers            []string `help:"Kafka or Redpanda brokers to begin with, HOST:PORT, several with commas between them. Without one nothing leaves the process." placeholder:"HOST:PORT"`
	BrokerTLS          bool     `help:"Speak TLS to the brokers; --broker-ca and --broker-cert do so too." name:"broker-tls"`
	BrokerCA           string   `help:"Certificates of the authority that the brokers' are to be signed by, PEM; without it those of the system." placeholder:"FILE" type:"path" name:"broker-ca"`
	BrokerCert         string   `help:"Certificate that is shown to the brokers, PEM." placeholder:"FILE" type:"path"`
	BrokerKey          string   `help:"Key of --broker-cert, PEM." placeholder:"FILE" type:"path"`
	BrokerSASL         string   `help:"How --broker-user is proved to the brokers: ${enum}. With plain use TLS as well: the password is sent as it is." enum:"off,plain,scram-sha-256,scram-sha-512" default:"off" name:"broker-sasl"`
	BrokerUser         string   `help:"User of --broker-sasl." placeholder:"NAME"`
	BrokerPasswordFile string   `help:"File that holds the password of --broker-user." placeholder:"FILE" type:"path"`
	TopicPartitions    int      `help:"Partitions of topics that are made: as many detectors share the sensors of one at most. Those of a topic that is there stay." default:"4"`
	TopicReplication   int      `help:"Copies of topics that are made; 0 for what the brokers have by default." default:"0"`
}

// BrokerSASLOff is the value of --broker-sasl that shows nothing.
const BrokerSASLOff = "off"

// The values of --detector.
const (
	DetectorGo       = "go"
	DetectorExternal = "external"
	DetectorOff      = "off"
)

// The values of --publish.
const (
	PublishNone    = "none"
	PublishPackets = "packets"
	PublishSlots   = "slots"
	PublishBoth    = "both"
)

func (b *Broker) check(c *checker) {
	for _, address := range b.Brokers {
		host, port, err := net.SplitHostPort(address)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil || n == 0 || !isHost(host) {
			c.bad("brokers", address, "write it as host:port, for instance 127.0.0.1:9092")
		}
	}
	if (b.BrokerCert == "") != (b.BrokerKey == "") {
		c.bad("broker-cert", "", "and --broker-key belong together: give both or none")
	}
	if sasl := b.BrokerSASL != BrokerSASLOff; sasl != (b.BrokerUser != "") || sasl != (b.BrokerPasswordFile != "") {
		c.bad("broker-sasl", "", "--broker-user and --broker-password-file belong together: give all three or none")
	}
	if b.TopicPartitions < 1 || b.TopicPartitions > 10_000 {
		c.bad("topic-partitions", b.TopicPartitions, "must be 1 to 10000")
	}
	if b.TopicReplication < 0 || b.TopicReplication > 100 {
		c.bad("topic-replication", b.TopicReplication, "must be 0 to 100")
	}
}
