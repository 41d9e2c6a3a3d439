"""Real servers for one machine: a Kafka broker and an HDFS, started from jars that are fetched once."""
