-- Asks authentik-proxy whether a request may pass; see haproxy.cfg. Sets
-- txn.authentik_status to the answer's status, txn.authentik_url to what was asked for, and, on a
-- request that may pass, the person's headers, and the cookies without ours.

-- Further ones, if the application wants them: x-authentik-jwt, authorization.
local names = {
  "x-authentik-username", "x-authentik-groups", "x-authentik-entitlements",
  "x-authentik-email", "x-authentik-name", "x-authentik-uid",
}

-- What the answer depends on.
local sent = {
  "cookie", "authorization", "user-agent", "accept", "origin", "upgrade", "x-requested-with",
  "sec-fetch-mode", "access-control-request-method", "x-forwarded-for",
}

-- All values of a header, in order.
local function values(request, name)
  local found = {}
  if request[name] then
    for index = 0, #request[name] do
      table.insert(found, request[name][index])
    end
  end
  return found
end

-- Our cookies are not for the application.
local function take_our_cookies_out(txn, request)
  local lines = values(request, "cookie")
  txn.http:req_del_header("cookie")
  for _, line in ipairs(lines) do
    local kept = {}
    for pair in line:gmatch("[^;]+") do
      local cookie = pair:match("^%s*(.-)%s*$")
      if cookie ~= "" and not cookie:match("^authentik_proxy_")
          and not cookie:match("^__Host%-authentik_proxy_") then
        table.insert(kept, cookie)
      end
    end
    if #kept > 0 then
      txn.http:req_add_header("cookie", table.concat(kept, "; "))
    end
  end
end

core.register_action("authentik", { "http-req" }, function(txn, outpost)
  local request = txn.http:req_get_headers()
  local scheme = txn.f:ssl_fc() == 1 and "https" or "http"
  local url = scheme .. "://" .. (txn.f:req_fhdr("host") or "") .. txn.f:pathq()
  txn:set_var("txn.authentik_url", url)

  local headers = { ["x-original-url"] = { url }, ["x-original-method"] = { txn.f:method() } }
  for _, name in ipairs(sent) do
    if request[name] then
      headers[name] = values(request, name)
    end
  end
  local answer = core.httpclient():get({
    url = outpost .. "/outpost.goauthentik.io/auth/nginx",
    headers = headers,
    timeout = 10000,
  })
  local status = answer and answer.status or 0
  txn:set_var("txn.authentik_status", status)
  if status ~= 200 then
    return
  end
  for _, name in ipairs(names) do
    local value = answer.headers[name] and answer.headers[name][0]
    if value and value ~= "" then
      txn.http:req_set_header(name, value)
    end
  end
  take_our_cookies_out(txn, request)
end, 1)
