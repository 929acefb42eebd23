# SPDX-License-Identifier: MIT
"""Take the platform off a host, and leave what others own.

``plan`` reads the host and returns what goes, as steps, each with the words that name it and the function that does it:
what is named is what is done. A service is the platform's when ``service_applied`` has a stamp of its unit; the
application and Flower are when releases of theirs are unpacked. The stamps and the packages of releases go last, so
that an interrupted removal is finished by the next one.
"""
