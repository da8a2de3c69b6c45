/*
 * web_page.h - the chat page: files of web/ that the build has put into the program.
 *
 * The page asks for nothing but this server's own API, and its Content-Security-Policy holds it to
 * that. Its files hold no secret and ask for no key; the API that they use does. Loop thread.
 */
#ifndef MISTRAL_SERVER_WEB_PAGE_H
#define MISTRAL_SERVER_WEB_PAGE_H

#include <stddef.h>

struct http_connection;
struct server;

struct web_file {
    const char *name;         /* below /web/ */
    const char *content_type; /* constant text */
    const char *entity_tag;   /* of its bytes, with its quotes */
    const unsigned char *bytes;
    size_t length;
};

/* Written by web/embed.py. The first one is the page. */
extern const struct web_file web_files[];
extern const size_t web_file_count;

/* "/": the page for who accepts HTML on the first port; Ollama's words for everybody else. */
void web_page_answer_root(struct server *server, struct http_connection *connection,
                          const char *route);
/* "/web/NAME" */
void web_page_answer_file(struct server *server, struct http_connection *connection,
                          const char *route);

#endif
