"""Assembly: settings, resources, jobs, schedules and the command line. No data is touched here."""
