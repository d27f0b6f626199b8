"""Trackers: one adapter a file, one contract (`interfaces.Tracker`)."""
