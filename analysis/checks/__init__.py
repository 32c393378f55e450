"""What is believed of a results folder: names of files, records in JSON, tables in Parquet; and what is wrong."""
