# SPDX-License-Identifier: MIT
"""Find configuration, data, ports and names of others that a deployment to a host would overwrite or collide with.

A service belongs to the platform when the module ``service_applied`` has a stamp of its unit, which is written before
the first file of the service. The application and Flower belong to the platform when their folder below ``/opt`` holds
the packages of a release. Whatever such a service has is the platform's; any other service must be as its package made
it, or let the platform in beside others. Nothing is changed. Of services that are not the platform's, a Redis that
needs no password is asked, and PostgreSQL.

``check`` has the table of the services; each service has a module.
"""
