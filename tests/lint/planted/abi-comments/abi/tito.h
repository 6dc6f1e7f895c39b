/* A header. */
#define TITO_API

/* One comment for the two below. */
TITO_API int good_one(void);
TITO_API int good_two(int first,
                      int second);

TITO_API int bad_one(void);

/* A comment of its own. */
typedef struct x x;

TITO_API int bad_two(void);
