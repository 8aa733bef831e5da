"""Many traces: tasks on processes or on a cluster, and their results as one dataset."""
