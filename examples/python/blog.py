# A blog: tags, posts with their tags hydrated, questions by tag and by author, page by page.
#
#     blog [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
import argparse
import os
from typing import List, Optional

import tito

parser = argparse.ArgumentParser(prog="blog", description="TARGET: a directory, memory:, …")
parser.add_argument("--db", metavar="TARGET", default=os.environ.get("TITO_DB", "memory:"))
arguments = parser.parse_args()


class Tag(tito.Document, table="tag"):
    name: str


class Post(tito.Document, table="post"):
    title: str
    author: str
    published_at: int
    tag_ids: List[str] = tito.field(default_factory=list)
    status: Optional[str] = None
    tags: Optional[List[Tag]] = None  # filled when the relationship is asked for

    indexes = [
        tito.index("by_author", "author", "published_at"),
        tito.index("by_tag", "tag_ids", "published_at", condition=lambda post: post.status != "draft"),
    ]
    relationships = [tito.relationship("tag_ids", "tags", Tag)]


def show(post: Post) -> str:
    names = ", ".join(tag.name for tag in post.tags or [])
    return f"{post.title} (by {post.author}) [{names}]"


with tito.connect(arguments.db) as db:
    tag_model, posts = db.model(Tag), db.model(Post)

    # ---- writing

    tags = {}
    for name in ("Technology", "Travel", "Rust", "Databases"):
        tags[name] = tag_model.build(Tag(id=tito.uuid(), name=name)).id
        print(f"Created tag: {name} (ID: {tags[name]})")

    # all posts in one transaction: every one is stored, or none
    with db.begin() as tx:
        for n, title, author, names in (
            (1, "Introduction to TiKV", "Alice", ("Technology", "Databases")),
            (2, "Best cities to visit in Europe", "Bob", ("Travel",)),
            (3, "Using Rust with TiKV", "Alice", ("Technology", "Rust", "Databases")),
        ):
            tag_ids = [tags[name] for name in names]
            posts.save(Post(f"post-{n}", title, author, published_at=20230100 + n, tag_ids=tag_ids), tx)

    # ---- reading

    for i, post in enumerate(posts.scan(), start=1):
        print(f"{i}. {post.title} (by {post.author})")

    first = posts.find_by_id("post-1", ["tags"])
    assert first is not None
    print("Post with tags:")
    print("  " + show(first))

    def print_by(index: str, value: str) -> None:
        """The posts with one value in the first field of an index, two to a page."""
        cursor: Optional[str] = None
        while True:
            query = posts.query_by_index(index).value(value).limit(2).cursor(cursor).relationship("tags")
            page = query.execute()
            for post in page:
                print("  - " + show(post))
            cursor = page.cursor
            if cursor is None:
                return

    print("Technology posts:")
    print_by("by_tag", tags["Technology"])
    print("Posts by Alice:")
    print_by("by_author", "Alice")
