"""One process that receives telemetry, opens incidents, diagnoses them and shows them."""
