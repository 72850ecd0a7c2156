"""A whole cluster on one machine, brought up and removed by one command each."""
