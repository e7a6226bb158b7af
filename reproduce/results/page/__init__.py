"""What stands on the report's page: its facts, its commands, and the files of each training."""
