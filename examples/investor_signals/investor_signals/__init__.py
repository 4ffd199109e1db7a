"""Weekly investor signals from daily prices: the project that the example's DAG and flow build, run and serve."""
