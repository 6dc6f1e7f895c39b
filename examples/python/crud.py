# Create, read, update and delete one record, with a version check on the update.
#
#     crud [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
import argparse
import os
from typing import Dict

import tito

parser = argparse.ArgumentParser(prog="crud", description="TARGET: a directory, memory:, …")
parser.add_argument("--db", metavar="TARGET", default=os.environ.get("TITO_DB", "memory:"))
arguments = parser.parse_args()


class User(tito.Document, table="user"):
    name: str
    email: str
    age: int = 0

    indexes = [tito.index("by_age", "age")]
    unique_indexes = [tito.index("by_email", "email")]


def show(user: User) -> str:
    return f"{{ id = {user.id}, name = {user.name}, email = {user.email}, age = {user.age} }}"


with tito.connect(arguments.db) as db:
    users = db.model(User)

    # create
    created = users.build(User(id=tito.uuid(), name="John Doe", email="john@example.com", age=30))
    print("Created user:", show(created))

    # read
    read = users.find_with_version(created.id)
    assert read is not None, "the user is not there"
    found, version = read
    print("Found user:", show(found))

    # update, unless somebody else has changed the record since it was read
    found.age = 31
    users.update(found, if_version=version)
    print("User updated successfully")
    changed = users.find_by_id(created.id)
    assert changed is not None
    print("Found user:", show(changed))

    # errors are exceptions of one hierarchy, with a code
    try:
        users.build(User(id=tito.uuid(), name="Johnny", email="john@example.com"))
    except tito.UniqueViolation as error:
        assert (error.code, error.index) == ("unique_violation", "by_email")

    # delete
    assert users.delete_by_id(created.id)
    print("User deleted successfully")
    assert users.find_by_id(created.id) is None, "the user is still there"

    # the same without a class: a model of dicts
    plain = db.model({"table": "user", "unique_indexes": [
        {"name": "by_email", "fields": [{"name": "email", "type": "string"}]}]})
    document: Dict[str, object] = {"id": "1", "name": "Jane", "email": "jane@example.com"}
    plain.save(document)
    assert plain.query_by_index("by_email").value("jane@example.com").first() == document
