"""The order of each way of working, once: the command line and the DAGs both call these."""
