/* A function of 70 lines. */
static int f(int a,
             int b)
{
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
    a += b; /* { */
}

struct x {
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
    int a;
};

static int table[] = {
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
};
