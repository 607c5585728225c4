"""The broker on Kafka, by confluent-kafka: the extra `kafka`."""
