"""Rows on their way from a server to the user.

download      frames, a batch at a time
json_rows     rows as GraphQL gives them
formats       dicts of Python values, or columns
dataframes    the DataFrames of pandas and polars
exports       Parquet files
"""
