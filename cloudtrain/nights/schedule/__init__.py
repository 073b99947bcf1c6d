"""The one thin file of a schedule, for GitHub, GitLab, cron or systemd, and what a person does once for it.

`options` is what is asked for, `place` the repository it is written into, `files` its text; one module per form.
"""
