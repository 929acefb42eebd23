from tasks import add


def test_names() -> None:
    assert add.name == "tasks.add"
    assert add(2, 3) == 5
