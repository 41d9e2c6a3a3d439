"""Landing folders, local or on HDFS, as a source."""
