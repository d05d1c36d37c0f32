"""What every step needs at run time: settings, the environment, options, run control, the staging area."""
