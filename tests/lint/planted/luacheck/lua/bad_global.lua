function leaked(a)
  return a
end
