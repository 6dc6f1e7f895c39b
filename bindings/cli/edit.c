/* Lines from a terminal, edited: libedit with a history and the completions that Lua offers.
 *
 *   edit.new(file)            an editor with the history of a file (nil: none)
 *   editor:line(prompt, complete)   a line; "" and true after Ctrl-C; nil at the end
 *       complete(text before the cursor) gives a list of texts that may replace its last word, and
 *       where that word begins
 *   editor:add(line)          into the history, and its file
 *   editor:close()
 *
 * INVARIANTS
 *  1. While Lua runs, the terminal is as it was before: an interrupt is a signal then, a character
 *     while a line is edited.
 *  2. The file of the history is for its owner alone.
 *
 * @thread main; one editor at a time has the terminal. */
#include "cli.h"

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTORY_MAX = 1000, COLUMN_GAP = 2, PATH_SIZE_MAX = 4096, WIDTH_DEFAULT = 80 };

typedef struct editor {
    EditLine *line;
    History *history;
    lua_State *L; /* of the call that edits now */
    const char *prompt;
    bool cancelled;
    char file[PATH_SIZE_MAX]; /* "" = none */
} editor;

static const char type_name[] = "tito.cli.editor";

static editor *editor_of(lua_State *L)
{
    editor *e = luaL_checkudata(L, 1, type_name);
    luaL_argcheck(L, e->line != NULL, 1, "the editor was closed");
    return e;
}

static editor *owner_of(EditLine *line)
{
    editor *e = NULL;
    (void)el_get(line, EL_CLIENTDATA, &e);
    return e;
}

static char *prompt_of(EditLine *line)
{
    union {
        const char *in;
        char *out; /* libedit reads it only */
    } text = {.in = owner_of(line)->prompt};
    return text.out;
}

/* ---- Completion ---- */

typedef struct choice {
    const char *text; /* in the Lua table at the top of the stack */
    size_t len;
} choice;

static choice choice_at(lua_State *L, lua_Integer i)
{
    choice c;
    lua_rawgeti(L, -1, i);
    c.text = lua_tolstring(L, -1, &c.len);
    lua_pop(L, 1);
    return c;
}

/* How many bytes all choices begin with. */
static size_t common_length(lua_State *L, lua_Integer count)
{
    choice first = choice_at(L, 1);
    size_t len = first.len;
    for (lua_Integer i = 2; i <= count; i++) {
        choice other = choice_at(L, i);
        size_t same = 0;
        while (same < len && same < other.len && other.text[same] == first.text[same])
            same++;
        len = same;
    }
    return len;
}

/* Shows all choices below the line, in columns. */
static void show_choices(lua_State *L, lua_Integer count)
{
    size_t width = 0, used = 0;
    for (lua_Integer i = 1; i <= count; i++) {
        size_t len = choice_at(L, i).len;
        width = len > width ? len : width;
    }
    width += COLUMN_GAP;
    (void)fputc('\n', stdout);
    for (lua_Integer i = 1; i <= count; i++) {
        if (used + width > WIDTH_DEFAULT && used > 0) {
            (void)fputc('\n', stdout);
            used = 0;
        }
        (void)printf("%-*s", (int)width, choice_at(L, i).text);
        used += width;
    }
    (void)fputc('\n', stdout);
    (void)fflush(stdout);
}

/* Calls the Lua function at index 3 of editor:line with the text before the cursor: whether it gave
 * choices, which are then on the stack; *begin_out: where the word begins. */
static lua_Integer ask(lua_State *L, const LineInfo *info, size_t *begin_out)
{
    size_t before = (size_t)(info->cursor - info->buffer);
    lua_pushvalue(L, 3);
    lua_pushlstring(L, info->buffer, before);
    if (lua_pcall(L, 1, 2, 0) != LUA_OK)
        return 0;
    lua_Integer begin = lua_tointeger(L, -1);
    if (begin < 1 || (size_t)begin > before + 1 || !lua_istable(L, -2))
        return 0;
    *begin_out = (size_t)begin - 1;
    lua_pop(L, 1);
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= count; i++)
        if (choice_at(L, i).text == NULL)
            return 0;
    return count;
}

static unsigned char complete(EditLine *line, int key)
{
    editor *e = owner_of(line);
    lua_State *L = e->L;
    size_t begin = 0;
    unsigned char result = CC_ERROR;
    (void)key;
    int top = lua_gettop(L);
    if (!lua_isfunction(L, 3) || !lua_checkstack(L, LUA_MINSTACK))
        return CC_ERROR;
    const LineInfo *info = el_line(line);
    size_t typed = (size_t)(info->cursor - info->buffer);
    lua_Integer count = ask(L, info, &begin);
    if (count > 0) {
        size_t common = common_length(L, count);
        char text[TC_TEXT_MAX];
        size_t word = typed - begin;
        if (common > word && common < sizeof(text)) {
            memcpy(text, choice_at(L, 1).text, common);
            text[common] = '\0';
            result = el_insertstr(line, text + word) == 0 ? CC_REFRESH : CC_ERROR;
        } else if (count > 1) {
            show_choices(L, count);
            result = CC_REDISPLAY;
        }
    }
    lua_settop(L, top);
    return result;
}

static unsigned char cancel(EditLine *line, int key)
{
    (void)key;
    owner_of(line)->cancelled = true;
    return CC_NEWLINE;
}

/* ---- The editor ---- */

static bool set_up(editor *e)
{
    HistEvent event;
    e->history = history_init();
    e->line = el_init("tito", stdin, stdout, stderr);
    if (e->history == NULL || e->line == NULL)
        return false;
    (void)history(e->history, &event, H_SETSIZE, HISTORY_MAX);
    (void)history(e->history, &event, H_SETUNIQUE, 1);
    if (e->file[0] != '\0')
        (void)history(e->history, &event, H_LOAD, e->file);
    (void)el_set(e->line, EL_CLIENTDATA, e);
    (void)el_set(e->line, EL_PROMPT, prompt_of);
    (void)el_set(e->line, EL_EDITOR, "emacs");
    (void)el_set(e->line, EL_HIST, history, e->history);
    (void)el_set(e->line, EL_SETTY, "-d", "-isig", (const char *)NULL);
    (void)el_set(e->line, EL_ADDFN, "tito-complete", "Completes names", complete);
    (void)el_set(e->line, EL_BIND, "^I", "tito-complete", (const char *)NULL);
    (void)el_set(e->line, EL_ADDFN, "tito-cancel", "Gives the line up", cancel);
    (void)el_set(e->line, EL_BIND, "^C", "tito-cancel", (const char *)NULL);
    (void)el_set(e->line, EL_BIND, "^R", "em-inc-search-prev", (const char *)NULL);
    return true;
}

static void tear_down(editor *e)
{
    if (e->line != NULL)
        el_end(e->line);
    if (e->history != NULL)
        history_end(e->history);
    e->line = NULL;
    e->history = NULL;
}

static int new_editor(lua_State *L)
{
    const char *file = luaL_optstring(L, 1, "");
    luaL_argcheck(L, strlen(file) < PATH_SIZE_MAX, 1, "the path is too long");
    editor *e = lua_newuserdatauv(L, sizeof(*e), 0);
    *e = (editor){.line = NULL};
    luaL_setmetatable(L, type_name);
    memcpy(e->file, file, strlen(file) + 1);
    if (!set_up(e)) {
        tear_down(e);
        return luaL_error(L, "the terminal can not be edited on");
    }
    return 1;
}

static int editor_line(lua_State *L)
{
    editor *e = editor_of(L);
    int len = 0;
    e->prompt = luaL_checkstring(L, 2);
    lua_settop(L, 3);
    e->L = L;
    e->cancelled = false;
    const char *text = el_gets(e->line, &len);
    e->L = NULL;
    if (e->cancelled) {
        (void)fputs("^C\n", stdout);
        lua_pushliteral(L, "");
        lua_pushboolean(L, 1);
        return 2;
    }
    if (text == NULL || len <= 0)
        return 0;
    lua_pushlstring(L, text, (size_t)len - (text[len - 1] == '\n' ? 1 : 0));
    return 1;
}

static int editor_add(lua_State *L)
{
    editor *e = editor_of(L);
    HistEvent event;
    (void)history(e->history, &event, H_ENTER, luaL_checkstring(L, 2));
    if (e->file[0] == '\0')
        return 0;
    mode_t before = umask(S_IRWXG | S_IRWXO);
    (void)history(e->history, &event, H_SAVE, e->file);
    umask(before);
    return 0;
}

static int editor_close(lua_State *L)
{
    tear_down(luaL_checkudata(L, 1, type_name));
    return 0;
}

int tc_edit_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"line", editor_line},     {"add", editor_add},
                                       {"close", editor_close},   {"__gc", editor_close},
                                       {"__close", editor_close}, {NULL, NULL}};
    luaL_newmetatable(L, type_name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, new_editor);
    return 1;
}

/* ---- Lua code that is interrupted ---- */

static void stop(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    if (!tc_interrupted())
        return;
    tc_interrupt_forget();
    lua_sethook(L, NULL, 0, 0);
    (void)luaL_error(L, "interrupted");
}

/* interruptible(function, …): calls it; Ctrl-C raises "interrupted" in its Lua code. What pcall
 * gives. */
int tc_interruptible(lua_State *L)
{
    enum { INSTRUCTIONS = 10000 };
    (void)tc_interrupted();
    lua_sethook(L, stop, LUA_MASKCOUNT, INSTRUCTIONS);
    int called = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    lua_sethook(L, NULL, 0, 0);
    tc_interrupt_forget();
    lua_pushboolean(L, called == LUA_OK);
    lua_insert(L, 1);
    return lua_gettop(L);
}
