/* Damage for `check` to find: a table of users, and thirteen things that are wrong with it, each as bytes that no program
 * of tito's would write.
 *
 *   entries   one missing, one owner missing, one of other bytes, three too many (a live record's, nobody's, an unknown
 *             index's), an owner who is another, a key that is none
 *   records   a list that is old, torn bytes, a format that does not exist, no JSON, another record's id
 */
#ifndef TI_TESTS_MODEL_PLANT_H
#define TI_TESTS_MODEL_PLANT_H

#include "codec/record.h"
#include "model/model_int.h"
#include "model/support.h"

/* Declares the table `user` with four indexes, and writes the records u00 to u19. */
ti_model *plant_users(db *d);
/* All of the damage, to what plant_users wrote. */
void plant_damage(db *d);

/* Keys and tuples, in the arena of d. */
ti_slice value_tuple(db *d, ti_value value, bool descending);
ti_slice text_tuple(db *d, const char *text);
ti_slice index_key(db *d, const char *index, ti_slice tuple, const char *id);
ti_slice unique_key(db *d, const char *mail);
ti_slice record_key(db *d, const char *id);
/* Makes owner the owner of a mail address. */
void put_owner(db *d, const char *mail, const char *owner);
/* Writes a record with a document and a list of entries of the test's own. */
void put_record(db *d, const char *id, const char *json, const ti_entry *entries, size_t count);

#endif
