# SPDX-License-Identifier: MIT
"""Check a platform's inventory before anything is touched, and say in words what is wrong.

There is a file for each subject. A check is a generator of problems over one host's variables, or over the groups;
`check.check` runs all of them. Standard library only: nothing is read but what is passed in.
"""
