"""What a run can learn, a module a task; `table` says which trainer a run needs.

May be imported by the commands.
"""
