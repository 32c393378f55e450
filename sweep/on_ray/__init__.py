"""The only place that imports Ray: cluster, runner, actor, jobs, and the classes for Tune scripts of your own."""
