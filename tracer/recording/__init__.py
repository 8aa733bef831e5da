"""One recording: from the attached probes to a trace on disk."""
