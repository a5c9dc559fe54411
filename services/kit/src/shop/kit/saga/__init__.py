"""Sagas: what to do next (engine), where sagas are kept (store), who drives and resumes them (runner, recovery).

A service with sagas writes steps, and a `Lifecycle` that names the `Saga` of each kind. It starts one with
`SagaRepository.start`, drives it with `SagaRunner.drive` and runs `SagaRecovery.run` as a background task. A service
that stores changes of its own together with those of its sagas describes them by a `SagaTable`.
"""
