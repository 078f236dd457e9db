"""Pull connectors: telemetry asked of other systems over HTTP, one file each."""
