// Package forwardauth answers reverse proxies: may this request pass, and who sent it? nginx asks by auth_request, Caddy by
// forward_auth, Traefik by forwardAuth, Envoy by ext_authz; a back end in any language can ask as well. The answer is a
// status and a few headers that the proxy passes on.
//
// The question is the request's own credential, and a query that is read strictly: permission= (repeatable, all are
// needed), max_age= seconds since the user proved who they are, fresh=true to ask the store whatever memory says, and
// login=redirect to send a browser that loads a page to the sign-in page. A query with anything else is refused: a mistyped
// permission must not open the door.
//
// Package forwardauth never writes, sets no cookie, reads no body, and believes nothing that a request says about who sent
// it.
package forwardauth
