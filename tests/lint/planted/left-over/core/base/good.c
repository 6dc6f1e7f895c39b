/* mkdtemp("/tmp/XXXXXX"), todo lists and hackers are fine. */
