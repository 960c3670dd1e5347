"""What leaves the machine: frames of all runs, in the words of a server.

embedded     finds the server of this machine, or starts it
http         the one place that speaks HTTP as a client
speaker      what the uplink and its speakers say to each other
dialect      which language a server speaks
native       ours: frames as they are
wandb        W&B's: GraphQL for the run, `file_stream` for its rows
graphql      one document, one answer
uplink       frames -> requests; backoff; acknowledgements
"""
