#include "sim/exec/memo.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/arena.h"

/* Before an answer's nodes: their number and the work's counters. */
struct answer {
    struct draft_work work;
    int32_t n, reserved;
};

enum { HEAD = sizeof(struct answer) / sizeof(int32_t) };

struct slot {
    uint64_t key;
    uint64_t at; /* of the answer in word[], plus one; 0: free */
};

struct draft_memo {
    struct arena arena;
    struct slot *slot; /* [n_slots], a power of two, at most half of them used */
    uint64_t n_slots, n_used, n_words, max_words;
    int32_t *word;
    struct draft_memo_stats stats;
};

int draft_memo_create(int32_t answers, int32_t nodes, struct draft_memo **out, struct err *e)
{
    struct draft_memo *m = calloc(1, sizeof *m);
    assert(answers > 0 && nodes > 0);
    if (m) {
        arena_init(&m->arena);
        for (m->n_slots = 2; m->n_slots < 2 * (uint64_t)answers;)
            m->n_slots *= 2;
        m->max_words = (uint64_t)answers * (HEAD + 3 * (uint64_t)nodes);
        m->slot = arena_alloc(&m->arena, m->n_slots, sizeof *m->slot);
        m->word = arena_room(&m->arena, m->max_words, sizeof *m->word);
    }
    if (!m || !m->slot || !m->word) {
        draft_memo_destroy(m);
        return err_set(e, ERR_NOMEM, "out of memory for %d remembered proposals", (int)answers);
    }
    *out = m;
    return ERR_OK;
}

void draft_memo_destroy(struct draft_memo *m)
{
    if (!m)
        return;
    arena_fini(&m->arena);
    free(m);
}

static struct slot *find(const struct draft_memo *m, uint64_t key)
{
    uint64_t i = key & (m->n_slots - 1);
    while (m->slot[i].at && m->slot[i].key != key)
        i = (i + 1) & (m->n_slots - 1);
    return &m->slot[i];
}

bool draft_memo_get(struct draft_memo *m, uint64_t key, struct draft_tree *tree,
                    struct draft_work *work)
{
    const struct slot *s = find(m, key);
    struct answer head;
    m->stats.asked++;
    if (!s->at)
        return false;
    m->stats.found++;
    const int32_t *w = m->word + s->at - 1;
    memcpy(&head, w, sizeof head);
    size_t bytes = (size_t)head.n * sizeof *w;
    tree->n = head.n;
    *work = head.work;
    if (bytes) {
        memcpy(tree->token, w + HEAD, bytes);
        memcpy(tree->parent, w + HEAD + head.n, bytes);
        memcpy(tree->chance, w + HEAD + 2 * (size_t)head.n, bytes);
    }
    return true;
}

void draft_memo_put(struct draft_memo *m, uint64_t key, const struct draft_tree *tree,
                    const struct draft_work *work)
{
    struct answer head = {*work, tree->n, 0};
    uint64_t words = HEAD + 3 * (uint64_t)tree->n;
    struct slot *s = find(m, key);
    assert(!s->at);
    if (2 * (m->n_used + 1) > m->n_slots || words > m->max_words - m->n_words)
        return;
    int32_t *w = m->word + m->n_words;
    size_t bytes = (size_t)tree->n * sizeof *w;
    memcpy(w, &head, sizeof head);
    if (bytes) {
        memcpy(w + HEAD, tree->token, bytes);
        memcpy(w + HEAD + tree->n, tree->parent, bytes);
        memcpy(w + HEAD + 2 * (size_t)tree->n, tree->chance, bytes);
    }
    *s = (struct slot){key, m->n_words + 1};
    m->n_words += words;
    m->n_used++;
    m->stats.kept++;
}

struct draft_memo_stats draft_memo_stats(const struct draft_memo *m)
{
    return m->stats;
}
