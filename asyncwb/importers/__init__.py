"""Other people's data into ours.

commands              the imports that the command line offers
importing             what all sources share: find, compare, bring over, resume
items                 what an import moves: rows, events, lines, in a fixed order
target                the server that it writes to
wandb_server          runs of a W&B server, through its API
wandb_logs            W&B's offline folders
wandb_log_file        the format of their `.wandb` logs
protobuf              messages by field number, without their schema
tensorboard_run       a folder of TensorBoard's event files as one run
tensorboard_anew      the same once more, where a later session replaced rows
tensorboard_logs      the rows of event files
tensorboard_values    what is logged at a tag

What would block is done by `asyncio.to_thread`, on the threads of whatever loop runs the import: of
the engine's, those are its own helpers, which work until the very end of the process.
"""
