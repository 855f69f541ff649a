"""`slick study`: the paper's whole study on a model of the user's choice, by the same verbs that a user types.

grid      what is to be studied            state     study.json, and what is done already
jobs      the jobs that this takes         schedule  which job runs next
work      what one job does                pool      the processes that do them; ray_pool: a Ray cluster's
forecast  steps, time and disk             run       all of it together
"""
