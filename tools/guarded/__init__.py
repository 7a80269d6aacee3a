"""Programs that end with the process that started them, for all of the repository's tools."""
