"""The command line: arguments to plan, run, show. Nothing is measured or drawn here; see docs/architecture.md."""
