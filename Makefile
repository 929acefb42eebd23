# The front door. `make` lists the verbs.
#   INVENTORY=inventories/…   where to (default: the lab, a host made on this machine)
#   LIMIT=… ARGS='…'          passed on to ansible-playbook;  CHECK=1: a dry run that shows every difference

INVENTORY ?= inventories/lab
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Where it is set, every start of Ansible would compile all of Ansible anew: a second.
unexport PYTHONDONTWRITEBYTECODE
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

ifeq ($(wildcard $(INVENTORY)/.),)
$(error INVENTORY=$(INVENTORY) is no folder. There are: $(patsubst %/,%,$(wildcard inventories/*/)))
endif
is_lab := $(shell grep -qs '^lab:' $(INVENTORY)/hosts.yml && echo --lab)
again = $(if $(AGAIN),-e '{"celery_release_again": true}')
unlock = $(if $(UNLOCK),-e '{"celery_unlock": true}')
play = ansible-playbook -i $(INVENTORY) $(if $(LIMIT),--limit '$(LIMIT)') $(if $(CHECK),--check --diff) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help
help:
	@printf 'make VERB [INVENTORY=%s]\n\n' '$(INVENTORY)'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: setup setup-lab setup-test
setup:  ## Install the tools of this clone: system packages, a locked Python environment (every verb does so first)
	@bin/setup $(is_lab)
setup-lab setup-test: setup-%:
	@bin/setup --$*

# --- the platform ---------------------------------------------------------------------------------------------------
.PHONY: deploy status show releases release rollback restart drain undrain rotate remove dead ssh
deploy: setup  ## Bring the hosts to the state that the inventory describes; CHECK=1 only shows what would change
	@$(if $(is_lab),bin/lab $(INVENTORY))
	@$(play) playbooks/site.yml $(unlock) $(again)

status: setup  ## Show the health of all hosts in one table
	@$(play) playbooks/status.yml

show: setup  ## Show what the inventory means for each host, without secrets: [HOST=…]
	@$(play) $(if $(HOST),--limit '$(HOST)') playbooks/show.yml

release: setup  ## Bring new code to the hosts, and nothing else: [AGAIN=1] to try a release that is marked as bad
	@$(play) playbooks/release.yml $(unlock) $(again)

rollback: setup  ## Run the previous release again, or another release that the hosts keep: [TO=id] [AGAIN=1]
	@$(play) playbooks/rollback.yml $(unlock) $(again) $(if $(TO),-e celery_release='$(TO)')

releases: setup  ## Show the releases of all hosts, and the release that each program runs
	@$(play) playbooks/releases.yml

restart: setup  ## Restart the programs, host by host, as they are: [PROGRAM=celery]
	@$(play) playbooks/restart.yml $(unlock) -e restart_program='$(PROGRAM)'

drain: setup  ## Stop a host's workers after their tasks in hand, and keep the workers stopped: HOST=…
undrain: setup  ## Start the workers of a drained host again: HOST=…
drain undrain:
	@$(play) playbooks/$@.yml $(unlock) -e drain_host='$(HOST)'

rotate: setup  ## Replace the generated passwords of the brokers, the database and Flower without an outage
	@$(play) playbooks/rotate.yml $(unlock)

remove: setup  ## Name what goes when the platform leaves the hosts; remove it with YES=1, and the data too with DATA=1
	@$(play) playbooks/remove.yml $(unlock) $(if $(YES),-e '{"remove_confirmed": true}') $(if $(DATA),-e '{"remove_data": true}')

dead: setup  ## List, show, retry or drop dead-lettered messages: [DO=list|show|retry|drop] [ID='…'|--all] [ARGS='…'] [HOST=…]
	@bin/ssh $(INVENTORY) '$(or $(HOST),workers[0])' 'celery-dead $(or $(DO),list) $(subst ','\'',$(value ID) $(value ARGS))'

ssh: setup  ## Open a shell as root on a host, or run one command there: [HOST=…] [CMD='…']
	@bin/ssh $(INVENTORY) '$(HOST)' '$(subst ','\'',$(value CMD))'

# --- the lab --------------------------------------------------------------------------------------------------------
.PHONY: lab destroy
lab destroy: must_be_lab = $(if $(is_lab),,$(error INVENTORY=$(INVENTORY) has no group `lab`: its hosts are not ours to make))
lab: setup-lab  ## Create or start the lab's hosts, and deploy nothing
	@$(must_be_lab)bin/lab $(INVENTORY)

destroy: setup  ## Remove the lab: its hosts, their data, its network and keys, nothing else
	@$(must_be_lab)bin/lab --destroy $(INVENTORY)

# --- proof ----------------------------------------------------------------------------------------------------------
.PHONY: test test-times lint lint-ansible lint-python lint-shell unit projects versions tour molecule apps conformance removal used used-by rolling chaos bench-deploy bench-redis
test: setup-test lint  ## Run all tests that CI runs
	@pytest --junit-xml=.cache/times/test.xml

test-times:  ## Show where the time of the last `make test` went: by scenario, phase, file and test
	@python3 -m tests.times

lint: setup  ## Check all sources: Ansible, YAML, Python, shell
	@$(MAKE) --jobs --output-sync lint-ansible lint-python lint-shell
lint-ansible:
	@ansible-lint
lint-python:
	@ruff check --quiet && ruff format --check --quiet
	@mypy
	@bin/in-app app mypy
	@cd runtime && mypy
lint-shell:
	@yamllint --strict .
	@shellcheck $$(git ls-files --cached --others --exclude-standard | grep -v '\.j2$$' | xargs grep -lE '^#!.*sh$$')

unit: setup  ## Run the tests that need no host
	@pytest --numprocesses auto --dist worksteal tests/unit $(ARGS)

projects: setup  ## Run the tests of the application and of the runtime, with the latest Celery and the oldest
	@pytest tests/projects $(ARGS)

versions: setup  ## Run the runtime's tests with each minor version of Celery, the oldest to the latest: [ONLY=5.4]
	@for lock in $(or $(ONLY:%=runtime/tests/versions/%.lock),runtime/tests/versions/*.lock app/requirements-dev.lock); do \
	  echo "$$lock"; LOCK=$$lock bin/in-app runtime pytest --quiet --numprocesses 2 $(ARGS) || exit; done

tour: setup-lab  ## Prove the verbs of docs/tour.md, on a lab of its own
	@pytest tests/verbs $(ARGS)

molecule: setup-test  ## Prove the platform on hosts of its own: [SCENARIO=default|redis|mishaps|debian12|plain|plain-redis]
	@MOLECULE_EPHEMERAL_DIRECTORY=$(CURDIR)/.cache/molecule/$(or $(SCENARIO),default) \
	  molecule test --no-command-borders --scenario-name $(or $(SCENARIO),default) $(ARGS)

apps: setup-lab  ## Deploy the applications of tests/apps, one after the other, and show what works: [APP=flask] [KEEP=1]
	@python -m tests.corpus $(if $(APP),--app $(APP)) $(if $(KEEP),--keep) $(ARGS)

conformance: setup-lab  ## Run Celery's or kombu's own integration suite with and without the platform: [SUITE=kombu] [BROKER=redis] [VERSION=5.7.0] [KEEP=1]
	@python -m tests.conformance $(if $(BROKER),--broker $(BROKER)) $(if $(SUITE),--suite $(SUITE)) $(if $(VERSION),--version $(VERSION)) $(if $(KEEP),--keep) $(ARGS)

removal: setup-lab  ## Prove `make remove` on hosts of its own: five minutes, not in `make test`
	@$(MAKE) --no-print-directory deploy INVENTORY=molecule/mishaps/inventory
	@pytest tests/removal --ansible-inventory=molecule/mishaps/inventory --sudo $(ARGS)
	@$(MAKE) --no-print-directory destroy INVENTORY=molecule/mishaps/inventory

used: setup-lab  ## Prove that hosts with a past keep what others have on them: four minutes, not in `make test`
	@$(MAKE) used-by used_test=test_used.py used_inventory=tests/used/inventory
	@$(MAKE) used-by used_test=test_rabbitmq.py used_inventory=tests/used/rabbitmq
used-by:
	@bin/lab $(used_inventory)
	@pytest tests/used/$(used_test) --ansible-inventory=$(used_inventory) --sudo $(ARGS)
	@$(MAKE) destroy INVENTORY=$(used_inventory)

rolling: setup-lab  ## Prove releases on several hosts, web sides behind several proxies: thirteen minutes, not in `make test`
	@pytest tests/rolling $(ARGS)

chaos: setup-lab  ## Break lab hosts under load and count lost tasks: [FAULT=F9] [BROKER=redis] [SOAK=40m] [SEED=n] [KEEP=1] [PUBLISH=1]
	@python -m tests.faults $(if $(FAULT),--fault $(FAULT)) $(if $(BROKER),--broker $(BROKER)) $(if $(SOAK),--soak $(SOAK)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(KEEP),--keep) $(if $(PUBLISH),--publish) $(ARGS)

bench-deploy: setup-lab  ## Measure a deployment against a shell script that only installs the packages
	@bench/deploy $(ARGS)

bench-redis: setup  ## Measure Redis as the broker with the platform's transport against kombu's own
	@bin/in-app . bench/redis-transport $(ARGS)

# --- upkeep ---------------------------------------------------------------------------------------------------------
.PHONY: upgrade docs clean
upgrade: setup  ## Lock every dependency at its latest version
	@bin/lock

docs: setup  ## Build the documentation in build/docs, a site with search; a dead link is an error
	@bin/docs

clean:  ## Remove the files that the verbs created in this clone, except the lab (make destroy) and its secrets
	rm -rf .venv .ansible .cache .mypy_cache .pytest_cache .ruff_cache build dist
