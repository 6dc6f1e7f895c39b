/* malloc(1) in a comment is none; strcpy(a, b) neither. */
int f(struct x *x)
{
    int time = x->free(x->data); // time(NULL)
    ti_free(x);
    log("malloc(1) \" free(2)");
    return time + x->rand() + '"' + snprintf(x->data, 1, "%d", 1);
}
