"""Effects: one adapter for each foreign system. A library's own exceptions end here, as `StepError`."""
