"""What every request meets, whatever it asks for.

connection       a client's connection: how long a request may take
address          under which addresses this server is known
body_limits      how large a body may be, for how long, how many at a time
auth             who sends a request
access           who may do what, decided here and nowhere else
state            what the handlers share
json_body        bodies of a few named fields, checked at once
parameters       parameters of an address, checked
strict_json      JSON that browsers can read
answers          what is answered in it, as far as the page reads it
errors           how the server says that something failed
signing          expiring addresses that carry the right to do one thing
login            logging the page in
pages            the page's file and assets
open_requests    requests that end soon after the key that let them in
"""
