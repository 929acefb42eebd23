# SPDX-License-Identifier: MIT
"""Build a release on the controller: an application and its packages as two archives, named by what went into them.

A release has two layers, so that a change of code ships kilobytes:

* ``deps-<deps_id>.tar.gz``: third-party packages, for one Python and one kind of machine.
* ``release-<release_id>.tar.gz``: a small virtual environment with the application, the runtime and a ``release.pth``
  that puts the packages on the path.

Both ids are digests of the inputs, so asking again for an archive that exists costs a hash and no call of uv. The
controller's Python need not be the hosts'.

``build`` uses the other modules: ``request`` (what to build, and what came of it), ``lock`` (which packages),
``source`` (which files), ``application`` (the project's metadata, modules and syntax), ``packages`` (uv), ``archive``
(the bytes) and ``cache`` (the folder that keeps the archives).
"""
