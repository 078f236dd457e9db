"""Online checks: mechanical detectors of the failures of reasoning RF-00 to RF-16, over the journal alone."""
