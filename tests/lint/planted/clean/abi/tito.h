/* The interface. */
#define TITO_API

/* One. */
TITO_API int tito_one(void);
