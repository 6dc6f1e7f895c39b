
/* What it is for. */
int a;
