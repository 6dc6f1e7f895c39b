/* What the clients do: four loads, each with an invariant of its own that check/ knows.
 *
 *   bank       amounts move between accounts; their sum stays            value: BALANCE_ID
 *   append     values are added to lists; a list tells its own history   value: 1,2,3
 *   ring       nodes that name the next one; one is put elsewhere        value: NEXT_ID
 *   register   one key, read, written, compared and set                  value: ID
 *
 * ID makes a value unique. Thread rule: as client.h. */
#include "histories/client.h"

#include "base/assert.h"

#include <inttypes.h>

/* Of so many transactions one takes locks: the locks of the dead live for 20 s. */
#define LOCKING_ONE_IN 24

/* ---- Bank ---- */

#define ACCOUNTS 8
#define OPENING 100

static void bank_key(int group, uint64_t account, char out[HIST_KEY_SIZE])
{
    snprintf(out, HIST_KEY_SIZE, "bank/%d/%02u", group, (unsigned)account);
}

static ti_status put_balance(hist_client *c, int group, uint64_t account, int64_t balance)
{
    char key[HIST_KEY_SIZE];
    char value[64];
    bank_key(group, account, key);
    snprintf(value, sizeof(value), "%" PRId64 "_%" PRIu64, balance, hist_fresh_value(c));
    return hist_put(c, key, value);
}

static void bank_set_up(hist_client *c)
{
    ti_status status = TI_OK;
    hist_begin(c);
    for (int group = 0; group < HIST_GROUPS; group++)
        for (uint64_t i = 0; status == TI_OK && i < ACCOUNTS; i++)
            status = put_balance(c, group, i, OPENING);
    ti_require(hist_finish(c, status) == TI_OK);
}

/* Reads all keys of the group, in one of three ways. */
static ti_status read_group(hist_client *c, const char *name, unsigned count,
                            void (*key_of)(int group, uint64_t i, char out[HIST_KEY_SIZE]))
{
    char from[HIST_KEY_SIZE];
    char to[HIST_KEY_SIZE];
    char keys[16][HIST_KEY_SIZE];
    const char *values[16];
    uint64_t how = test_random_below(&c->random, 3);
    ti_require(count <= 16);
    if (how < 2) {
        snprintf(from, sizeof(from), "%s/%d/", name, c->group);
        snprintf(to, sizeof(to), "%s/%d0", name, c->group);
        return hist_scan(c, from, to, how == 1);
    }
    for (uint64_t i = 0; i < count; i++)
        key_of(c->group, i, keys[i]);
    return hist_batch_get(c, (const char(*)[HIST_KEY_SIZE])keys, count, values);
}

static ti_status bank_audit(hist_client *c)
{
    return read_group(c, "bank", ACCOUNTS, bank_key);
}

static ti_status read_balance(hist_client *c, uint64_t account, bool locked, int64_t *balance_out)
{
    char key[HIST_KEY_SIZE];
    const char *value = "";
    bank_key(c->group, account, key);
    TI_TRY(locked ? hist_get_locked(c, key, &value) : hist_get(c, key, &value));
    *balance_out = strtoll(value, NULL, 10);
    return TI_OK;
}

static ti_status bank_transfer(hist_client *c)
{
    int64_t from_has = 0;
    int64_t to_has = 0;
    bool locked = test_random_one_in(&c->random, LOCKING_ONE_IN);
    uint64_t from = test_random_below(&c->random, ACCOUNTS);
    uint64_t to = (from + 1 + test_random_below(&c->random, ACCOUNTS - 1)) % ACCOUNTS;
    TI_TRY(read_balance(c, from, locked, &from_has));
    TI_TRY(read_balance(c, to, locked, &to_has));
    if (from_has == 0)
        return TI_OK;
    int64_t amount = 1 + (int64_t)test_random_below(&c->random, (uint64_t)from_has);
    TI_TRY(put_balance(c, c->group, from, from_has - amount));
    return put_balance(c, c->group, to, to_has + amount);
}

static void bank_step(hist_client *c)
{
    hist_begin(c);
    (void)hist_finish(c, test_random_one_in(&c->random, 3) ? bank_audit(c) : bank_transfer(c));
}

/* Until it is answered: the cluster is whole by then. */
static void read_until_answered(hist_client *c, ti_status (*read)(hist_client *c))
{
    ti_status status;
    int tries = 0;
    do {
        hist_begin(c);
        status = hist_finish(c, read(c));
    } while (status != TI_OK && ++tries < 10);
    ti_require(status == TI_OK);
}

static ti_status bank_scan(hist_client *c)
{
    return hist_scan(c, "bank/", "bank0", false);
}

static void bank_read_all(hist_client *c)
{
    read_until_answered(c, bank_scan);
}

static void bank_any_key(hist_shared *shared, test_random *random, char out[HIST_KEY_SIZE])
{
    (void)shared;
    bank_key((int)test_random_below(random, HIST_GROUPS), test_random_below(random, ACCOUNTS), out);
}

const hist_load hist_bank = {
    .name = "bank",
    .set_up = bank_set_up,
    .step = bank_step,
    .read_all = bank_read_all,
    .any_key = bank_any_key,
};

/* ---- Append ---- */

#define LIST_LONG 40
#define OPS_MAX 4

static void list_key(int group, uint64_t slot, uint32_t generation, char out[HIST_KEY_SIZE])
{
    snprintf(out, HIST_KEY_SIZE, "append/%d/%u/%05u", group, (unsigned)slot, (unsigned)generation);
}

/* A list that is long enough gives way to the next in its place. */
static void retire(hist_client *c, uint64_t slot, uint32_t generation, const char *list)
{
    size_t commas = 0;
    for (const char *at = list; *at != '\0'; at++)
        commas += *at == ',';
    if (commas + 1 >= LIST_LONG)
        (void)atomic_compare_exchange_strong(&c->shared->generation[c->group][slot], &generation,
                                             generation + 1);
}

static ti_status append_ops(hist_client *c)
{
    ti_status status = TI_OK;
    bool locked = test_random_one_in(&c->random, LOCKING_ONE_IN);
    uint64_t count = 1 + test_random_below(&c->random, OPS_MAX);
    for (uint64_t i = 0; status == TI_OK && i < count; i++) {
        char key[HIST_KEY_SIZE];
        const char *list = "";
        uint64_t slot = test_random_below(&c->random, HIST_LISTS);
        uint32_t generation = atomic_load(&c->shared->generation[c->group][slot]);
        list_key(c->group, slot, generation, key);
        if (test_random_one_in(&c->random, 2))
            status = hist_get(c, key, &list);
        else
            status = hist_add(c, key, hist_fresh_value(c), locked, &list);
        if (status == TI_OK)
            retire(c, slot, generation, list);
    }
    return status;
}

static void append_step(hist_client *c)
{
    hist_begin(c);
    (void)hist_finish(c, append_ops(c));
}

static void append_set_up(hist_client *c)
{
    (void)c; /* lists begin by being absent */
}

static ti_status append_scan(hist_client *c)
{
    return hist_scan(c, "append/", "append0", false);
}

static void append_read_all(hist_client *c)
{
    read_until_answered(c, append_scan);
}

static void append_any_key(hist_shared *shared, test_random *random, char out[HIST_KEY_SIZE])
{
    int group = (int)test_random_below(random, HIST_GROUPS);
    uint64_t slot = test_random_below(random, HIST_LISTS);
    list_key(group, slot, atomic_load(&shared->generation[group][slot]), out);
}

const hist_load hist_append = {
    .name = "append",
    .set_up = append_set_up,
    .step = append_step,
    .read_all = append_read_all,
    .any_key = append_any_key,
};

/* ---- Ring ---- */

#define NODES 8

static void node_key(int group, uint64_t node, char out[HIST_KEY_SIZE])
{
    snprintf(out, HIST_KEY_SIZE, "ring/%d/%02u", group, (unsigned)node);
}

static ti_status put_next(hist_client *c, int group, uint64_t node, uint64_t next)
{
    char key[HIST_KEY_SIZE];
    char value[64];
    node_key(group, node, key);
    snprintf(value, sizeof(value), "%" PRIu64 "_%" PRIu64, next, hist_fresh_value(c));
    return hist_put(c, key, value);
}

static ti_status read_next(hist_client *c, uint64_t node, bool locked, uint64_t *next_out)
{
    char key[HIST_KEY_SIZE];
    const char *value = "";
    node_key(c->group, node, key);
    TI_TRY(locked ? hist_get_locked(c, key, &value) : hist_get(c, key, &value));
    *next_out = strtoull(value, NULL, 10) % NODES;
    return TI_OK;
}

static void ring_set_up(hist_client *c)
{
    ti_status status = TI_OK;
    hist_begin(c);
    for (int group = 0; group < HIST_GROUPS; group++)
        for (uint64_t i = 0; status == TI_OK && i < NODES; i++)
            status = put_next(c, group, i, (i + 1) % NODES);
    ti_require(hist_finish(c, status) == TI_OK);
}

static ti_status ring_walk(hist_client *c)
{
    return read_group(c, "ring", NODES, node_key);
}

/* a → b → c and d → e become a → c and d → b → e. */
static ti_status ring_move(hist_client *c)
{
    uint64_t b = 0;
    uint64_t after_b = 0;
    uint64_t e = 0;
    bool locked = test_random_one_in(&c->random, LOCKING_ONE_IN);
    uint64_t a = test_random_below(&c->random, NODES);
    uint64_t d = test_random_below(&c->random, NODES);
    TI_TRY(read_next(c, a, locked, &b));
    TI_TRY(read_next(c, b, locked, &after_b));
    if (d == a || d == b)
        return TI_OK;
    TI_TRY(read_next(c, d, locked, &e));
    TI_TRY(put_next(c, c->group, a, after_b));
    TI_TRY(put_next(c, c->group, d, b));
    return put_next(c, c->group, b, e);
}

static void ring_step(hist_client *c)
{
    hist_begin(c);
    (void)hist_finish(c, test_random_one_in(&c->random, 3) ? ring_walk(c) : ring_move(c));
}

static ti_status ring_scan(hist_client *c)
{
    return hist_scan(c, "ring/", "ring0", false);
}

static void ring_read_all(hist_client *c)
{
    read_until_answered(c, ring_scan);
}

static void ring_any_key(hist_shared *shared, test_random *random, char out[HIST_KEY_SIZE])
{
    (void)shared;
    node_key((int)test_random_below(random, HIST_GROUPS), test_random_below(random, NODES), out);
}

const hist_load hist_ring = {
    .name = "ring",
    .set_up = ring_set_up,
    .step = ring_step,
    .read_all = ring_read_all,
    .any_key = ring_any_key,
};

/* ---- Register ---- */

/* A register for so many transactions, then the next: long histories are hard to check. A register
 * that is held up is left alone by most, but never by those who are in it. */
#define REGISTER_OPS 3000

static void register_key(uint64_t id, int group, char out[HIST_KEY_SIZE])
{
    snprintf(out, HIST_KEY_SIZE, "register/%d/%05u", group / 2, (unsigned)(id / REGISTER_OPS));
}

static ti_status put_fresh(hist_client *c, const char *key)
{
    char value[32];
    snprintf(value, sizeof(value), "%" PRIu64, hist_fresh_value(c));
    return hist_put(c, key, value);
}

static ti_status register_op(hist_client *c)
{
    char key[HIST_KEY_SIZE];
    const char *value = "";
    register_key(c->id, c->group, key);
    if (test_random_one_in(&c->random, LOCKING_ONE_IN)) {
        TI_TRY(hist_get_locked(c, key, &value));
        return put_fresh(c, key);
    }
    uint64_t how = test_random_below(&c->random, 10);
    if (how < 5)
        return hist_get(c, key, &value);
    if (how < 7)
        return put_fresh(c, key);
    TI_TRY(hist_get(c, key, &value));
    return put_fresh(c, key);
}

static void register_step(hist_client *c)
{
    hist_begin(c);
    (void)hist_finish(c, register_op(c));
}

static void register_set_up(hist_client *c)
{
    (void)c; /* registers begin by being absent */
}

static ti_status register_scan(hist_client *c)
{
    return hist_scan(c, "register/", "register0", false);
}

static void register_read_all(hist_client *c)
{
    read_until_answered(c, register_scan);
}

static void register_any_key(hist_shared *shared, test_random *random, char out[HIST_KEY_SIZE])
{
    uint64_t ahead = test_random_below(random, REGISTER_OPS);
    register_key(atomic_load(&shared->transactions) + ahead,
                 (int)test_random_below(random, HIST_GROUPS), out);
}

const hist_load hist_register = {
    .name = "register",
    .set_up = register_set_up,
    .step = register_step,
    .read_all = register_read_all,
    .any_key = register_any_key,
};
