// Package kafkatest runs a real Kafka of one node for the tests of a package, on loopback and in a temporary folder. It is imported by tests only.
package kafkatest
