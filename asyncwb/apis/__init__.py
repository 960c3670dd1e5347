"""The query API under the names by which users of wandb import it.

public    `asyncwb.apis.public`
"""
