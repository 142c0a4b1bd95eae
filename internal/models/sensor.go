package models

// SensorStatus says how a sensor is.
type SensorStatus string

// The statuses.
const (
	SensorOK     SensorStatus = "ok"
	SensorSilent SensorStatus = "silent" // it has given no sign of life for ten seconds
	SensorTwice  SensorStatus = "twice"  // two programs give signs of life under its name
)

// SensorState is what a console knows of a sensor. Counters run from the start of the sensor.
type SensorState struct {
	Name       string       `json:"name"`
	Status     SensorStatus `json:"status"`
	Version    string       `json:"version"`
	Source     string       `json:"source"`   // the interfaces or the file
	SeenTS     Micros       `json:"seen_ts"`  // wall clock of its last sign of life; null: there was none
	ClockTS    Micros       `json:"clock_ts"` // capture time that it has reached; null before its first packet
	Packets    uint64       `json:"packets"`
	Bytes      uint64       `json:"bytes"`
	PacketRate float64      `json:"packet_rate"` // packets/s over the seconds that it told of last
	ByteRate   float64      `json:"byte_rate"`   // bytes/s
	Active     uint64       `json:"active"`      // connections
	Opened     uint64       `json:"opened"`
	Lost       uint64       `json:"lost"` // packets that nothing has looked at
	Interfaces []Interface  `json:"interfaces"`
	Detector   string       `json:"detector"` // who judges what it sees; "": nobody
	Learning   float64      `json:"learning"` // how far that has learned, 0 to 1
}
